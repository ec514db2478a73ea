// The frame of the page: what all screens share, and which screen the address names.

import { QueryClient, QueryClientProvider } from "@tanstack/react-query";
import { useEffect, useState, useSyncExternalStore } from "react";
import { encodePath, RequestError } from "./api/client";
import { EventFeed } from "./api/events";
import { LineStore } from "./api/lines";
import { keepLive } from "./api/live";
import { LinesContext } from "./api/queries";
import { ProjectsPage } from "./pages/projects";
import { RunPage } from "./pages/run";
import { WorkspacePage } from "./pages/workspace";
import { type Route, useRoute, workspaceHref } from "./state/location";
import { toggleTheme, useTheme } from "./state/theme";
import { Logo, MoonIcon, SunIcon } from "./ui/icons";
import { Link } from "./ui/link";
import { Empty, Guard } from "./ui/notice";
import { ShortcutMap, useShortcuts } from "./ui/shortcuts";

const client = new QueryClient({
  defaultOptions: {
    queries: {
      // Nothing grows old by itself: events say what has changed.
      staleTime: Infinity,
      refetchOnWindowFocus: false,
      refetchOnReconnect: false,
      // The server is on this machine or in this building: what the browser thinks of the network is no news.
      networkMode: "always",
      retry: (count, error) =>
        count < 2 && error instanceof RequestError && (error.status === 0 || error.status >= 500),
      retryDelay: (count) => 400 * 2 ** count,
    },
  },
});
const feed = new EventFeed();
const lines = new LineStore();

export function App() {
  const route = useRoute();
  const followed = route.page === "workspace" || route.page === "run" ? encodePath(route.entity, route.project) : null;
  useEffect(() => keepLive(feed, client, lines), []);
  useEffect(() => feed.follow(followed), [followed]);
  useEffect(() => {
    document.title = titleOf(route);
  }, [route]);

  return (
    <QueryClientProvider client={client}>
      <LinesContext value={lines}>
        <Header route={route} />
        <main>
          <Guard key={route.page} what="this page">
            <Screen route={route} />
          </Guard>
        </main>
      </LinesContext>
    </QueryClientProvider>
  );
}

function Screen({ route }: { route: Route }) {
  switch (route.page) {
    case "projects":
      return <ProjectsPage />;
    case "workspace":
      return <WorkspacePage key={`${route.entity}/${route.project}`} entity={route.entity} project={route.project} />;
    case "run":
      return <RunPage key={route.id} entity={route.entity} project={route.project} id={route.id} />;
    case "unknown":
      return (
        <Empty title="There is nothing at this address">
          <p>
            <Link href="/">All projects</Link>
          </p>
        </Empty>
      );
  }
}

function Header({ route }: { route: Route }) {
  const theme = useTheme();
  const connection = useSyncExternalStore(feed.onConnection, () => feed.connection);
  const [isMapOpen, setMapOpen] = useState(false);
  useShortcuts({ "?": () => setMapOpen(true), t: toggleTheme });
  return (
    <header className="header">
      <Link href="/" className="home" aria-label="all projects">
        <Logo /> <span>tracker</span>
      </Link>
      {(route.page === "workspace" || route.page === "run") && (
        <nav className="crumbs" aria-label="where you are">
          <span className="crumb-entity">{route.entity}</span>
          <span aria-hidden="true">/</span>
          <Link href={workspaceHref(route.entity, route.project)}>{route.project}</Link>
          {route.page === "run" && (
            <>
              <span aria-hidden="true">/</span>
              <span>{route.id}</span>
            </>
          )}
        </nav>
      )}
      <span className="spacer" />
      <span className={`connection connection-${connection}`} role="status">
        {connection === "lost" ? "offline, trying again" : connection === "open" ? "live" : "connecting"}
      </span>
      <button
        type="button"
        className="icon-button"
        onClick={toggleTheme}
        aria-label={theme === "dark" ? "use the light look" : "use the dark look"}
        title="light or dark (t)"
      >
        {theme === "dark" ? <SunIcon /> : <MoonIcon />}
      </button>
      <button
        type="button"
        className="icon-button"
        onClick={() => setMapOpen(true)}
        aria-label="keyboard map"
        title="keyboard map (?)"
      >
        ?
      </button>
      <ShortcutMap isOpen={isMapOpen} onClose={() => setMapOpen(false)} />
    </header>
  );
}

function titleOf(route: Route): string {
  if (route.page === "workspace") return `${route.project} · tracker`;
  if (route.page === "run") return `${route.id} · ${route.project} · tracker`;
  return "tracker";
}
