"""Find sequences on which a callback implementation fails: strategies, mutators, campaigns, minimising."""
