-- Answers kept for Idempotency-Key

-- Offsets of Kafka

-- What DPUs say of themselves

-- Columnstore and retention
