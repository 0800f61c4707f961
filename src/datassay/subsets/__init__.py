"""What methods that retrain on subsets share: trainers, utilities, and one study of trainings."""
