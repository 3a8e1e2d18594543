"""Privacy audits for federated learning: how much private data do the gradients give away?"""
