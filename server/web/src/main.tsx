import { createRoot } from "react-dom/client";
import { App } from "./app";
import "uplot/dist/uPlot.min.css";
import "./styles/base.css";
import "./styles/pages.css";
import "./styles/charts.css";
import "./styles/run.css";

createRoot(document.getElementById("root")!).render(<App />);
