"""Text-only language models: option likelihoods and hidden states."""
