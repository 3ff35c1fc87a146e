#!/usr/bin/env bash
# Every dashboard is of the type that Grafana publishes (npm's @grafana/schema): TypeScript checks each file as a literal of type Dashboard.
# Needs npm, and its registry at the first time.
#
#   dashboards_schema.sh CACHE_DIRECTORY
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
dashboards=$here/../../monitoring/grafana/dashboards
mkdir -p "$1"
cd "$1"
command -v npm >/dev/null || { echo "dashboards_schema: npm is missing: apt-get install npm" >&2; exit 78; }
[ -d node_modules/@grafana/schema ] || npm install --no-audit --no-fund --ignore-scripts @grafana/schema@13.2.3 typescript@5.6.3 >npm.log 2>&1 ||
    { cat npm.log >&2; exit 78; }

rm -f ./*.ts
# JSON has text where the types have enumerations, and of a query they know what all data sources share; the rest is Prometheus's.
cat >types.ts <<'TS'
import type { Dashboard, DataQuery } from '@grafana/schema';
interface PrometheusQuery { expr?: string; legendFormat?: string; editorMode?: 'code' | 'builder'; range?: boolean; instant?: boolean;
                            format?: 'time_series' | 'table' | 'heatmap'; interval?: string; exemplar?: boolean; }
interface PrometheusAnnotation { expr?: string; step?: string; titleFormat?: string; textFormat?: string; tagKeys?: string; useValueForTime?: boolean; }
type Plain<T> = unknown extends T ? T : T extends string ? `${T}` : T extends number | boolean | null | undefined ? T
  : T extends (infer Item)[] ? Plain<Item>[] : T extends DataQuery ? { [Key in keyof T]: Plain<T[Key]> } & PrometheusQuery
  : T extends { iconColor: string; enable: boolean } ? { [Key in keyof T]: Plain<T[Key]> } & PrometheusAnnotation
  : T extends object ? { [Key in keyof T]: Key extends 'targets' ? (Plain<DataQuery> & PrometheusQuery)[] : Plain<T[Key]> } : T;
export type PlainDashboard = Plain<Dashboard>;
TS
types() {  # FILE NAME: the file as a typed literal
    printf "import type { PlainDashboard } from './types';\nexport const dashboard: PlainDashboard = " >"$2.ts"
    cat "$1" >>"$2.ts"
}
check() { npx --no-install tsc --noEmit --strict --skipLibCheck --moduleResolution bundler --module esnext --target es2022 "$@"; }

for file in "$dashboards"/*.json; do types "$file" "dashboard-$(basename "$file" .json)"; done
check ./dashboard-*.ts
echo "dashboards of Grafana's type: $(ls ./dashboard-*.ts | wc -l)"

# The check finds what it is there for.
wrong() {  # SED EXPRESSION WORD: the first dashboard with that change is objected to, by that word
    sed "$1" "$dashboards/1-fleet.json" >wrong.json
    types wrong.json wrong
    if check ./wrong.ts >wrong.log; then echo "dashboards_schema: no objection to $1" >&2; exit 1; fi
    grep -q "$2" wrong.log || { cat wrong.log >&2; exit 1; }
}
wrong 's/"schemaVersion": [0-9]*/"schemaVersion": "many"/' "not assignable"
wrong 's/"mode": "thresholds"/"mode": "threshold"/' "threshold"
wrong 's/"legendFormat": "[^"]*"/"legendFormat": 7/' "not assignable"
