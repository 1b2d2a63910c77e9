-- Answers kept for Idempotency-Key

CREATE TABLE occupancy.request_receipt (
  organization    integer NOT NULL,
  idempotency_key text NOT NULL,
  fingerprint     bytea NOT NULL,
  receipt         json NOT NULL,
  received_at     timestamptz NOT NULL DEFAULT now(),
  CONSTRAINT request_receipt_pkey PRIMARY KEY (organization, idempotency_key),
  CONSTRAINT request_receipt_has_an_organization
    FOREIGN KEY (organization) REFERENCES occupancy.organization (id)
);

-- receipts are forgotten by age
CREATE INDEX request_receipt_by_age ON occupancy.request_receipt (received_at);

COMMENT ON TABLE occupancy.request_receipt IS
  'What a request with an Idempotency-Key was answered, to answer its repetition alike.';
COMMENT ON COLUMN occupancy.request_receipt.fingerprint IS
  'SHA-256 of what was sent: the same key with something else is refused.';

-- Offsets of Kafka

-- What DPUs say of themselves

-- Columnstore and retention
