"""What several protocols share: lines, spans, pieces of grammar, clocks, rates, services that are open, and memory with
a budget."""
