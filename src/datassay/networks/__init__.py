"""What methods that read gradients share: a network for a problem, its trainings, its features."""
