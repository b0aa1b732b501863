-- Purpose: whether the tables of migration 006 are there, with the column that they have since migration 007.
-- Source: system.tables, system.columns. Grain: one row.
-- Safe to retry: reads only.
SELECT
    (
        SELECT count() FROM system.tables WHERE database = currentDatabase() AND name IN {names:Array(String)}
    ) AS tables,
    (
        SELECT count() FROM system.columns
        WHERE database = currentDatabase() AND table IN {names:Array(String)} AND name = 'inp_out'
    ) AS columns
