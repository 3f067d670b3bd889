"""H.323: call signalling (H.225.0, H.245) and RAS."""
