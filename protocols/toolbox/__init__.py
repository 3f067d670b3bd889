"""What several protocols share: lines, spans, pieces of grammar, clocks, and memory with a budget."""
