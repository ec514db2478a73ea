// Written by hand in the shape of openapi-typescript, until `npm run api` can make it from the server's own openapi.json.

export interface components {
  schemas: {
    Project: {
      entity: string;
      project: string;
      runs: number;
      states: Record<string, number>;
      last_activity_ns: number | null;
    };
    Metric: {
      key: string;
      runs: number;
      points: number;
      numeric: boolean;
      last_step: number | null;
      x: string | null;
    };
    Run: {
      path: string;
      id: string;
      entity: string;
      project: string;
      name: string;
      state: string;
      created_ns: number | null;
      updated_ns: number | null;
      ended_ns: number | null;
      duration_s: number | null;
      group: string | null;
      job_type: string | null;
      tags: string[];
      notes: string | null;
      host: string | null;
      config: Record<string, unknown>;
      summary: Record<string, unknown>;
      last_step: number | null;
      points: number;
      color: string | null;
    };
    RunDetail: components["schemas"]["Run"] & {
      streams: Record<string, unknown>[];
      alerts: Record<string, unknown>[];
      metrics: Record<string, unknown>[];
      exit: Record<string, unknown> | null;
    };
  };
}
