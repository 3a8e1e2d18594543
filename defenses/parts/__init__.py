"""What defenses are put together from: chains, per-sample clipping, masks and the secure sum."""
