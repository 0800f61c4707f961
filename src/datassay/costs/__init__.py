"""What each method takes in time, memory and disk, predicted before anything runs."""
