-- Everything a schema is made of, one line of text each, in an order that depends on names only. Objects
-- that belong to extensions and the day partitions of `locations` are left out: they differ between
-- servers without meaning anything.
with
own as (
  select c.oid, c.relname, c.relkind
    from pg_class c
   where c.relnamespace = 'public'::regnamespace
     and not c.relispartition
     and not exists (select from pg_depend d where d.classid = 'pg_class'::regclass and d.objid = c.oid and d.deptype = 'e')
),
lines as (
  select 1 as part, '' as owner, extname::text as name, 'extension ' || extname as line
    from pg_extension where extname <> 'plpgsql'
  union all
  select 2, p.proname, pg_get_function_identity_arguments(p.oid), pg_get_functiondef(p.oid)
    from pg_proc p
   where p.pronamespace = 'public'::regnamespace
     and not exists (select from pg_depend d where d.classid = 'pg_proc'::regclass and d.objid = p.oid and d.deptype = 'e')
  union all
  select 3, o.relname, '', 'table ' || o.relname || coalesce(' partition by ' || pg_get_partkeydef(o.oid), '')
    from own o where o.relkind in ('r', 'p')
  union all
  select 3, o.relname, '1 ' || lpad(a.attnum::text, 4, '0'),
         '  ' || a.attname || ' ' || format_type(a.atttypid, a.atttypmod)
         || case when a.attnotnull then ' not null' else '' end
         || case when a.attidentity <> '' then ' identity ' || a.attidentity::text else '' end
         || case when a.attgenerated <> '' then ' generated' else '' end
         || coalesce(' default ' || pg_get_expr(d.adbin, d.adrelid), '')
    from own o
    join pg_attribute a on a.attrelid = o.oid and a.attnum > 0 and not a.attisdropped
    left join pg_attrdef d on d.adrelid = o.oid and d.adnum = a.attnum
   where o.relkind in ('r', 'p')
  union all
  select 3, o.relname, '2 ' || c.conname, '  constraint ' || c.conname || ' ' || pg_get_constraintdef(c.oid)
    from own o join pg_constraint c on c.conrelid = o.oid
  union all
  select 3, o.relname, '3 ' || ic.relname, '  ' || pg_get_indexdef(i.indexrelid)
    from own o join pg_index i on i.indrelid = o.oid join pg_class ic on ic.oid = i.indexrelid
   where not exists (select from pg_constraint c where c.conindid = i.indexrelid)
  union all
  select 3, o.relname, '4 ' || t.tgname, '  ' || pg_get_triggerdef(t.oid)
    from own o join pg_trigger t on t.tgrelid = o.oid and not t.tgisinternal
  union all
  select 4, o.relname, '', 'view ' || o.relname || E' as\n' || pg_get_viewdef(o.oid)
    from own o where o.relkind = 'v'
)
select line from lines order by part, owner collate "C", name collate "C", line collate "C"
