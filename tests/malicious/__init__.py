"""Servers that send a malicious model, small and our own: what tripwires are tested on."""
