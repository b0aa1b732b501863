-- Purpose: rows that came in since an instant, as the points of a live scatter: the frame of loading_time.sql and response_time.sql.
-- Source: as those say. Grain: one row per (package_nm, server_type, band) with its points as arrays: identity (a hash of the source's
--   key, also the point's place in the sample), reg_dt in epoch ms, the point as JSON. Rows that lack package_nm or server_type are only
--   counted (new_rows), and so are values outside the metric's range (out_of_range), which are no points.
--   Without the rows whose identities are given as known (eight bytes each, in hexadecimal, as several texts).
--   With only_thresholds: per pair with more points than its cap, the identity of the last one that the cap admits.
-- Safe to retry: reads only; a row that is read again has the same identity.
{% import "shared/names.sql" as names %}
{% import "shared/ranges.sql" as ranges %}
{% if only_thresholds %}
SELECT
    pair AS pair_hash,
    arraySort(groupUniqArray(identity))[{caps:Array(UInt32)}[any(band) + 1]] AS threshold
{% else %}
SELECT
    {{ names.all_of(["isNotNull(server)", names.makes_a_key("package", max_name_length)]) }} AS is_complete,
    package AS package_name,
    ifNull(server, 0) AS server_number,
    band,
    any(pair) AS pair_hash,
    countIf(arrived_ms >= {new_from_ms:Int64}) AS new_rows,
    countIf(arrived_ms >= {new_from_ms:Int64} AND NOT is_plausible) AS out_of_range,
    if(is_complete, groupArrayIf(identity, is_plausible), []) AS identities,
    if(is_complete, groupArrayIf(arrived_ms, is_plausible), []) AS arrivals_ms,
    if(is_complete, groupArrayIf(point, is_plausible), []) AS points
{% endif %}
FROM
(
    SELECT
        {{ names.written("ifNull(source.package_nm, '')") }} AS package,
        source.server_type AS server,
        multiIf({% block value %}{% endblock %} < {normal_from:UInt32}, 0, {{ self.value() }} <= {normal_to:UInt32}, 1, 2) AS band,
        cityHash64(package, source.server_type, band) AS pair,
        {{ ranges.is_plausible(self.value(), metric_ranges[metric], true) }} AS is_plausible,
        cityHash64({% block identity %}{% endblock %}) AS identity,
        toUnixTimestamp64Milli(reg_dt) AS arrived_ms,
        toJSONString(CAST(
            (
{% block values %}{% endblock %}
            ),
            'Tuple(
{% block types %}{% endblock %}
            )'
        )) AS point
    FROM {% block table %}{% endblock %} AS source
    WHERE reg_dt >= fromUnixTimestamp64Milli({since_ms:Int64})
      AND reg_dt <= fromUnixTimestamp64Milli({until_ms:Int64})
      AND {{ self.value() }} >= {low_from:UInt32}
{% block conditions %}{% endblock %}
{% if thresholds %}
      AND (NOT is_plausible OR identity <= transform(pair, {pairs:Array(UInt64)}, {thresholds:Array(UInt64)}, 18446744073709551615))
{% endif %}
{% if known_texts %}
      AND identity NOT IN (
          SELECT reinterpretAsUInt64(substring(
              unhex(concat(''{% for place in range(known_texts) %}, {known_{{ place }}:String}{% endfor %})), 1 + 8 * number, 8
          ))
          FROM numbers({known:UInt64})
      )
{% endif %}
{% if prune_parts %}
      AND {% include "shared/unseen_parts.sql" %}
{% endif %}
)
{% if only_thresholds %}
WHERE is_plausible
GROUP BY pair
HAVING threshold > 0
{% else %}
GROUP BY package, server, band
{% endif %}
