-- Purpose: true for parts with blocks above those given as partitions and blocks.
-- Source: any MergeTree table. Grain: a condition, for {% raw %}{% include "shared/newer_blocks.sql" %}{% endraw %}.
-- Safe to retry: an expression only.
--
-- One expression on the part's own name, so that it holds for the very parts that the statement reads. A replicated table counts its
-- blocks from 0, others from 1.
toInt64OrDefault(splitByChar('_', _part)[3], toInt64(9223372036854775807))
    > transform(splitByChar('_', _part)[1], {partitions:Array(String)}, {blocks:Array(Int64)}, toInt64(-1))
