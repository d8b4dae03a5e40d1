"""Learners, scorers, labels and evaluation; free of Faust and Kafka."""
