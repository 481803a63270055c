"""Compute the losses that objectives weigh, of K heads at once: contrastive ones and triplets."""
