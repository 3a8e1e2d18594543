"""How labels are read off an update: the classifier's gradient, what it tells of each class, and the rules that decide."""
