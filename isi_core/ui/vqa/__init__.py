"""The pieces of the page VQA Interventions."""
