"""Which step comes first: fine-tuning pair encoders, their accuracy a category, and the modality gap."""
