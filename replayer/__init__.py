"""Play traces on callback implementations, here or in a sandbox, and judge what comes back."""
