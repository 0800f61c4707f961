"""What all commands share: what is printed, which files they touch, how they end."""
