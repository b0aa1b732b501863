-- Purpose: how many rows two generations have counted, and how many may have arrived between the two countings.
-- Source: maxy_page_live_figures; the names of maxy_device_page_flow's parts. Grain: one row.
-- Safe to retry: reads only.
SELECT
    (SELECT sum(pages) FROM maxy_page_live_figures WHERE generation = {former:UInt64}) AS former_pages,
    (SELECT sum(pages) FROM maxy_page_live_figures WHERE generation = {generation:UInt64}) AS pages,
    (
        SELECT count()
        FROM maxy_device_page_flow
        WHERE {% include "shared/newer_blocks.sql" %}
    ) AS arrived
