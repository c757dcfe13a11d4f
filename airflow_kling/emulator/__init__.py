"""A Kling on loopback that really expands pictures; needs the ``emulator`` extra."""
