// The run's named files: its code, what differs from the commit, its packages. Text is shown, all of it can be saved.

import { useQuery } from "@tanstack/react-query";
import { useMemo, useState } from "react";
import { fetchFiles, fetchFileText, fileHref } from "../api/client";
import { keys } from "../api/queries";
import type { NamedFile, RunDetail } from "../api/types";
import { useParams } from "../state/location";
import { CopyButton } from "../ui/copy";
import { bytes } from "../ui/format";
import { Empty, Loading, Problem } from "../ui/notice";
import { Search } from "../ui/search";

const mostShown = 512 * 1024;
const restoreHint = (run: RunDetail): string => `tracker restore ${run.project}/${run.id} --into folder`;

export function Files({ run }: { run: RunDetail }) {
  const [params, set] = useParams();
  const [search, setSearch] = useState("");
  const files = useQuery({
    queryKey: keys.files(run.path),
    queryFn: ({ signal }) => fetchFiles(run.path, signal),
  });
  const shown = useMemo(
    () => files.data?.filter((file) => file.name.toLowerCase().includes(search.toLowerCase())) ?? [],
    [files.data, search],
  );
  if (files.error) return <Problem error={files.error} retry={() => void files.refetch()} />;
  if (!files.data) return <Loading what="the files" />;
  if (files.data.length === 0) {
    return (
      <Empty title="No files are kept with this run">
        <p>The code is kept where the program runs in a git repository, or is a script.</p>
      </Empty>
    );
  }
  const open = files.data.find((file) => file.name === params.get("file")) ?? preferred(files.data);
  return (
    <section className="stage files" aria-label="files">
      <div className="file-list">
        <Search value={search} onChange={setSearch} label="Search files" />
        <ul>
          {shown.map((file) => (
            <li key={file.name}>
              <button
                type="button"
                aria-current={file.name === open?.name}
                title={file.name}
                onClick={() => set({ file: file.name }, "push")}
              >
                <span>{file.name}</span>
                <span className="count">{bytes(file.size)}</span>
              </button>
            </li>
          ))}
        </ul>
        <p className="hint restore-hint">
          <code>{restoreHint(run)}</code> <CopyButton text={() => restoreHint(run)} label="copy the command" />
        </p>
      </div>
      {open && <File key={open.digest} run={run} file={open} />}
    </section>
  );
}

function File({ run, file }: { run: RunDetail; file: NamedFile }) {
  const text = useQuery({
    queryKey: [...keys.files(run.path), file.name, file.digest],
    queryFn: ({ signal }) => fetchFileText(run.path, file.name, signal),
    enabled: file.size <= mostShown,
  });
  const isPatch = /\.(patch|diff)$/.test(file.name);
  return (
    <div className="file">
      <div className="card-head">
        <h2>{file.name}</h2>
        {text.data !== undefined && text.data !== null && (
          <CopyButton text={() => text.data ?? ""} label="copy the file" />
        )}
        <span className="spacer" />
        <a href={fileHref(run.path, file.name)} download={file.name.split("/").pop()}>
          save
        </a>
      </div>
      {file.size > mostShown ? (
        <p className="hint">It is too large to be shown here.</p>
      ) : text.error ? (
        <Problem error={text.error} retry={() => void text.refetch()} />
      ) : text.data === undefined ? (
        <Loading what="the file" />
      ) : text.data === null ? (
        <p className="hint">It is no text.</p>
      ) : (
        <pre tabIndex={0}>{isPatch ? text.data.split("\n").map(patchLine) : text.data}</pre>
      )}
    </div>
  );
}

function patchLine(line: string, index: number) {
  const kind = /^(\+\+\+|---|diff |index )/.test(line)
    ? "patch-head"
    : line.startsWith("+")
      ? "patch-added"
      : line.startsWith("-")
        ? "patch-removed"
        : line.startsWith("@@")
          ? "patch-place"
          : undefined;
  return (
    <span key={index} className={kind}>
      {line}
      {"\n"}
    </span>
  );
}

function preferred(files: readonly NamedFile[]): NamedFile | undefined {
  return (
    files.find((file) => file.name === "code/diff.patch") ??
    files.find((file) => file.name.startsWith("code/")) ??
    files[0]
  );
}
