CREATE OR REPLACE PROCEDURE occupancy.refresh_aggregates(job_id integer DEFAULT NULL, config jsonb DEFAULT NULL)
LANGUAGE plpgsql
AS $$
DECLARE
  holder uuid := gen_random_uuid();
  lag interval := coalesce(config ->> 'lag', '2 minutes');
  step interval := coalesce(config ->> 'step', '1 day');
  budget interval := coalesce(config ->> 'budget', '30 days');
  due_after interval := coalesce(config ->> 'due_after', '0');
  more boolean;
  -- Held events that are not stored by then are left to the next refresh: new buckets must not wait for all of them.
  storing_until timestamptz := clock_timestamp() + INTERVAL '20 seconds';
BEGIN
  -- No SET search_path here: a procedure that has one may not commit. Every name below is qualified.
  IF NOT occupancy.take_refresh(holder, due_after) THEN
    RETURN;
  END IF;
  COMMIT;
  LOOP
    BEGIN
      more := occupancy.store_held(holder) > 0;
    EXCEPTION WHEN lock_not_available OR deadlock_detected THEN
      RAISE WARNING 'put off: storing held events: %', sqlerrm;
      more := false;
    END;
    COMMIT;
    EXIT WHEN NOT more OR clock_timestamp() > storing_until;
  END LOOP;
  PERFORM occupancy.claim_stale(holder);
  COMMIT;
  BEGIN
    PERFORM occupancy.move_horizon(holder, lag);
  EXCEPTION WHEN lock_not_available THEN
    -- A writer takes long: the next refresh tries again, and need not wait for this lease.
    PERFORM occupancy.end_refresh(holder, false);
    RETURN;
  END;
  COMMIT;
  LOOP
    BEGIN
      more := occupancy.repair_next(holder, budget);
    EXCEPTION WHEN lock_not_available THEN
      -- Aggregates that are being compressed: their marks wait, and nothing else has to.
      RAISE WARNING 'put off: repair: %', sqlerrm;
      more := false;
    END;
    COMMIT;
    EXIT WHEN NOT more;
  END LOOP;
  WHILE occupancy.materialize_next(holder, step) LOOP
    COMMIT;
  END LOOP;
  COMMIT;
  PERFORM occupancy.end_refresh(holder, true);
END
$$;

COMMENT ON PROCEDURE occupancy.refresh_aggregates(integer, jsonb) IS
  'A whole refresh, step by step, each step a transaction. If it dies half way, every count stays exact and the next '
  'refresh goes on from there once the lease has run out. Called by a TimescaleDB job, or by hand.';
