"""Plans a TrainingJob for a Site, renders it into a Batch, hands it to the Site's Gateway and reports on it."""
