// All projects, the last active one first.

import { useProjects } from "../api/queries";
import type { Project } from "../api/types";
import { workspaceHref } from "../state/location";
import { ago, integer, moment } from "../ui/format";
import { useNow } from "../ui/hooks";
import { Link } from "../ui/link";
import { Empty, Loading, Problem } from "../ui/notice";
import { StateIcon } from "../ui/state-icon";

const firstRun = `import tracker

run = tracker.init(project="first")
for step in range(1000):
    run.log({"loss": 1 / (step + 1)})
run.finish()
`;

const stateOrder = ["running", "finished", "failed", "crashed", "killed", "preempted"];

export function ProjectsPage() {
  const { data, error, refetch } = useProjects();
  const now = useNow(30_000);
  if (!data) return error ? <Problem error={error} retry={() => void refetch()} /> : <Loading what="projects" />;
  if (data.length === 0) {
    return (
      <Empty title="No runs yet" code={firstRun}>
        <p>Save this as a file and run it with Python. The run appears here as soon as it begins.</p>
      </Empty>
    );
  }
  const projects = [...data].sort((a, b) => (b.last_activity_ns ?? 0) - (a.last_activity_ns ?? 0));
  return (
    <div className="page">
      <h1>Projects</h1>
      <table className="list projects">
        <thead>
          <tr>
            <th scope="col">Project</th>
            <th scope="col" className="is-number">
              Runs
            </th>
            <th scope="col">States</th>
            <th scope="col">Last activity</th>
          </tr>
        </thead>
        <tbody>
          {projects.map((project) => (
            <ProjectRow key={`${project.entity}/${project.project}`} project={project} now={now} />
          ))}
        </tbody>
      </table>
    </div>
  );
}

function ProjectRow({ project, now }: { project: Project; now: number }) {
  const states = Object.entries(project.states)
    .filter(([, count]) => count > 0)
    .sort(([a], [b]) => stateOrder.indexOf(a) - stateOrder.indexOf(b));
  return (
    <tr>
      <td>
        <Link className="row-link" href={workspaceHref(project.entity, project.project)}>
          {project.entity !== "local" && <span className="muted">{project.entity} / </span>}
          {project.project}
        </Link>
      </td>
      <td className="is-number">{integer(project.runs)}</td>
      <td>
        <span className="states">
          {states.map(([state, count]) => (
            <span key={state} className={`state-${state}`} title={`${count} ${state}`}>
              <StateIcon state={state} /> {integer(count)}
            </span>
          ))}
        </span>
      </td>
      <td className="muted">
        {project.last_activity_ns !== null && (
          <time title={moment(project.last_activity_ns)}>{ago(project.last_activity_ns, now)}</time>
        )}
      </td>
    </tr>
  );
}
