"""Generated collections, writes and questions, put to two engines whose answers must agree."""
