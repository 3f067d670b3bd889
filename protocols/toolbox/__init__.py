"""What several protocols share: lines, packets, spans, pieces of grammar, clocks, rates, services that are open, memory
with a budget, and what the log is told once."""
