CREATE OR REPLACE FUNCTION occupancy.apply_effects(dpus integer[]) RETURNS void
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  -- Read after the lock of a topology change, which a drop takes too.
  kept_since CONSTANT timestamptz := (SELECT horizon.dropped_before FROM occupancy.horizon);
BEGIN
  -- Marked whether or not crossings are to be seen: one may be on its way in another transaction.
  INSERT INTO occupancy.stale (space, since, until)
  SELECT change.space, lower(span), upper(span)
  FROM (
    SELECT
      both_sets.space,
      range_agg(
        (coalesce(both_sets.validities_before, '{}') - coalesce(both_sets.validities_after, '{}'))
        + (coalesce(both_sets.validities_after, '{}') - coalesce(both_sets.validities_before, '{}'))
      ) AS spans
    FROM (
      SELECT dpu, space, sign,
        range_agg(tstzrange(valid_from, valid_to)) FILTER (WHERE NOT derived) AS validities_before,
        range_agg(tstzrange(valid_from, valid_to)) FILTER (WHERE derived) AS validities_after
      FROM (
        SELECT effect.dpu, effect.space, effect.sign, effect.valid_from, effect.valid_to, false AS derived
        FROM occupancy.effect
        WHERE effect.dpu = ANY (dpus)
        UNION ALL
        SELECT new.dpu, new.space, new.sign, new.valid_from, new.valid_to, true
        FROM occupancy.derived_effects(dpus) AS new
      ) AS effect
      GROUP BY dpu, space, sign
    ) AS both_sets
    GROUP BY both_sets.space
  ) AS change
  -- what lies before the crossings that are kept can no longer be computed: it stays as it was
  CROSS JOIN LATERAL unnest(change.spans * tstzmultirange(tstzrange(kept_since, NULL))) AS span;

  IF isfinite(kept_since) AND EXISTS (
    SELECT FROM occupancy.effect
    WHERE effect.dpu = ANY (dpus) AND effect.valid_from < kept_since
      AND NOT EXISTS (
        SELECT FROM occupancy.derived_effects(dpus) AS new
        WHERE (new.dpu, new.space, new.sign) = (effect.dpu, effect.space, effect.sign)
          AND new.valid_from = effect.valid_from AND new.valid_to >= least(effect.valid_to, kept_since)
      )
    UNION ALL
    SELECT FROM occupancy.derived_effects(dpus) AS new
    WHERE new.valid_from < kept_since
      AND NOT EXISTS (
        SELECT FROM occupancy.effect
        WHERE (new.dpu, new.space, new.sign) = (effect.dpu, effect.space, effect.sign)
          AND effect.valid_from = new.valid_from AND effect.valid_to >= least(new.valid_to, kept_since)
      )
  ) THEN
    RAISE WARNING 'history before % stays as it was: its single crossings are no longer stored', kept_since;
  END IF;

  DELETE FROM occupancy.effect WHERE effect.dpu = ANY (dpus);
  INSERT INTO occupancy.effect (dpu, space, sign, valid_from, valid_to)
  SELECT new.dpu, new.space, new.sign, new.valid_from, new.valid_to
  FROM occupancy.derived_effects(dpus) AS new;
END
$$;

COMMENT ON FUNCTION occupancy.apply_effects(integer[]) IS
  'Brings the effects of these DPUs up to date and marks the changed ranges of each touched space as stale.';
