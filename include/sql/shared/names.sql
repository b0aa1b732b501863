-- Purpose: the one rule for names that become keys (package_nm, os_type), for the table and for every writer to Valkey.
-- Source: any columns. Grain: macros, for {% raw %}{% import "shared/names.sql" as names %}{% endraw %}.
-- Safe to retry: expressions only.
--
-- - What is not valid UTF-8, and control characters, are written as U+FFFD, so that every reader can decode every key.
--   (toValidUTF8 ends at a character that is cut off: what follows its first byte is gone.)
-- - A name in which nothing can be seen (nothing, blanks of any script, control, format and filling characters, in any mixture) is
--   missing, and written as ''.
-- - A name longer than the setting maxy_max_name_length is left out, too.
-- - Anything else stays as it is, blanks around it and upper case included.
-- Rows without a name are left out and counted; they never stop the others.
{# White space, control and format characters, and the letters and marks that Unicode says are drawn as nothing. #}
{% set invisible = [
    "\\\\p{Z}\\\\p{Cc}\\\\p{Cf}\\\\x{034f}\\\\x{115f}\\\\x{1160}\\\\x{17b4}\\\\x{17b5}\\\\x{180b}-\\\\x{180f}",
    "\\\\x{2065}\\\\x{2800}\\\\x{3164}\\\\x{fe00}-\\\\x{fe0f}\\\\x{ffa0}\\\\x{fff0}-\\\\x{fff8}\\\\x{e0000}-\\\\x{e0fff}",
] | join %}

{# The name as it is written; '' if it is missing. Names of printable ASCII, which all or nearly all of them are, are kept as they
   are and cost one match of a short expression: the rule for all others is compiled anew for every block that needs it. #}
{% macro written(name) -%}
if(
    match({{ name }}, '^[!-~][ -~]*$'),
    {{ name }},
    replaceRegexpAll(replaceRegexpOne(toValidUTF8({{ name }}), '^[{{ invisible }}]+$', ''), '\\p{Cc}', '\xEF\xBF\xBD')
)
{%- endmacro %}

{# 1 for a written name that makes a key. Of no characters one less is the greatest number. #}
{% macro makes_a_key(written, max_length) -%}
(toUInt64(lengthUTF8({{ written }}) - 1) < {{ max_length }})
{%- endmacro %}

{# 1 if all conditions (two or more) are 1. What AND says, but AND under a name that is used often, as in GROUP BY, is optimised anew at
   each of its places, which cost more than all the rest of a live statement's planning. #}
{% macro all_of(conditions) -%}
{% for _ in conditions[1:] %}least({% endfor %}{{ conditions[0] }}{% for condition in conditions[1:] %}, {{ condition }}){% endfor %}
{%- endmacro %}
