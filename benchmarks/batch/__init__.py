"""Many users scored at once beside one after the other, the products that the scores cost, and the memory set."""
