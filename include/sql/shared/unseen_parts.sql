-- Purpose: true for parts that may hold newer blocks; for the parameters of PartPruner.parameters (plugins/maxy/clickhouse/parts.py).
-- Source: any MergeTree table. Grain: a condition, for {% raw %}{% include "shared/unseen_parts.sql" %}{% endraw %}.
-- Safe to retry: an expression only.
--
-- The second half is a constant: a table that was made anew, or put in this one's place, since the snapshot was taken counts from the
-- start.
(
    {% include "shared/newer_blocks.sql" %}
    OR (
        SELECT count() FROM system.tables
        WHERE database = currentDatabase() AND name = {pruned_table:String} AND toString(uuid) = {pruned_uuid:String}
    ) = 0
)
