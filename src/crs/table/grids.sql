-- sqlite3 -separator TAB proj.db < grids.sql: the rows of grids.tsv.
select s.datum_code, t.datum_code, g.name, g.accuracy,
  e.west_lon || ',' || e.south_lat || ',' || e.east_lon || ',' || e.north_lat, g.grid_name
from grid_transformation g join geodetic_crs s on s.auth_name=g.source_crs_auth_name and s.code=g.source_crs_code
join geodetic_crs t on t.auth_name=g.target_crs_auth_name and t.code=g.target_crs_code
join usage u on u.object_table_name='grid_transformation' and u.object_auth_name=g.auth_name and u.object_code=g.code
join extent e on e.auth_name=u.extent_auth_name and e.code=u.extent_code
where g.deprecated=0 and g.method_code=9615 and g.auth_name='EPSG' order by g.name;
