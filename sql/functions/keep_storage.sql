CREATE OR REPLACE PROCEDURE occupancy.keep_storage(job_id integer DEFAULT NULL, config jsonb DEFAULT NULL)
LANGUAGE plpgsql
AS $$
DECLARE
  due regclass[];
  chunk regclass;
  step text;
  done boolean;
BEGIN
  -- No SET search_path here: a procedure that has one may not commit. Every name below is qualified.
  IF NOT occupancy.take_storage(coalesce(config ->> 'due_after', '0')::interval) THEN
    RETURN;
  END IF;
  COMMIT;
  -- The second step of a drop before the first: the last run's, so that no reader is left who saw an older horizon.
  FOREACH step IN ARRAY ARRAY['drop_crossings() > 0', 'move_dropped_before() IS NOT NULL', 'delete_rejected() > 0'] LOOP
    LOOP
      BEGIN
        EXECUTE 'SELECT occupancy.' || step INTO done;
      EXCEPTION WHEN lock_not_available OR deadlock_detected THEN
        RAISE WARNING 'put off: occupancy.%: %', step, sqlerrm;
        done := false;
      END;
      COMMIT;
      EXIT WHEN NOT done;
    END LOOP;
  END LOOP;
  due := ARRAY(SELECT occupancy.chunks_to_compress());
  FOREACH chunk IN ARRAY due LOOP
    BEGIN
      PERFORM occupancy.compress_one(chunk);
    EXCEPTION WHEN lock_not_available OR deadlock_detected OR serialization_failure OR undefined_table
      OR undefined_object THEN
      -- Somebody writes to it, or it is gone: the next run looks again.
      RAISE WARNING 'put off: compressing %: %', chunk, sqlerrm;
    END;
    COMMIT;
  END LOOP;
END
$$;

COMMENT ON PROCEDURE occupancy.keep_storage(integer, jsonb) IS
  'The work on old data that occupancy.storage asks for: compressing, dropping, deleting, step by step, each step a '
  'transaction. Whatever it dies at, the next run goes on. Called by a TimescaleDB job, or by hand.';
