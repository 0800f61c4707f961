"""What people decide about suspects: records of it, data that it was done to, and whether that helped."""
