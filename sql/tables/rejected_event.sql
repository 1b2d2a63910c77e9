CREATE TABLE occupancy.rejected_event (
  id           bigint GENERATED ALWAYS AS IDENTITY,
  organization integer NOT NULL,
  received_at  timestamptz NOT NULL DEFAULT now(),
  code         text NOT NULL,
  detail       text NOT NULL,
  payload      jsonb NOT NULL,
  fingerprint  uuid GENERATED ALWAYS AS (md5(payload::text)::uuid) STORED,
  CONSTRAINT rejected_event_pkey PRIMARY KEY (id),
  CONSTRAINT rejected_event_has_an_organization
    FOREIGN KEY (organization) REFERENCES occupancy.organization (id),
  -- an event that is sent again and again is one row; also lists and replays by organization and code
  CONSTRAINT rejected_event_is_kept_once UNIQUE (organization, code, fingerprint)
);

-- What was rejected of one DPU, and when. Cut, because whoever sends an id may send one that no index holds.
CREATE INDEX rejected_event_by_dpu ON occupancy.rejected_event (
  organization, left(coalesce(payload ->> 'dpu_id', payload #>> '{data,dpu_id}'), 200), received_at
);

COMMENT ON TABLE occupancy.rejected_event IS
  'Events that could not be counted, with the reason; replayed when the reason is gone.';
