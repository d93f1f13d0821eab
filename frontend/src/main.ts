// The console: elements that Django's pages, and any template, place by their names.

import "./style.css";
import "./pages/index.ts";
