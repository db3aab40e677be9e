"""The paper's 15 recognition benchmarks: where each lies, what it must hold, what the paper measured."""
