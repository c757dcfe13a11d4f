"""What the cluster suite stands on, beside the kill suite's parts: a broker, Kling, and the account of a run."""
