"""Training and evaluation of models: from labelled images to a bundle, and from a model's answers to a report."""
