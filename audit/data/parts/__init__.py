"""How a data set is divided: private, public and held out; copies, groups, clients and halves."""
