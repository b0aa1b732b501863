-- Purpose: throw a former generation away, all at once.
-- Source: one of the tables of migration 006. Grain: a partition.
-- Safe to retry: a partition that is not there is no error.
ALTER TABLE {{ table }} DROP PARTITION ID {partition_id:String}
