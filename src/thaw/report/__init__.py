"""What people look at: curves, tables, reports. Computes nothing of a model."""
