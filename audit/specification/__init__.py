"""What a user writes: the grammar of a spec, its file, its entries, and the sentence for each mistake."""
