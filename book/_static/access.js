// What the theme leaves undone for readers with a keyboard or a screen reader, and on paper (`?print`).
(() => {
  const TOLD = 'summary[aria-label="Toggle hidden content"], .search-button-field'; // a text of their own names them
  const LISTED = ".citation-list, [role='doc-biblioentry']"; // a list with links between its items, of a role that is gone
  const SCROLLS = `.predact-verdicts, .predact-settings, .predact-provenance, .pst-scrollable-table-container, .cell_output,
    .highlight pre, .output pre, mjx-container[display="true"]`;
  const FOLDED = "details:not(.predact-provenance, .predact-numbers details, .predact-status details)"; // the rest is long

  const reach = () => {
    for (const each of document.querySelectorAll(SCROLLS))
      if (each.scrollWidth > each.clientWidth || each.scrollHeight > each.clientHeight + 1) each.tabIndex = 0;
  };

  // All that is folded is unfolded, and a table that is wider than the text becomes smaller.
  const print = () => {
    for (const each of document.querySelectorAll(FOLDED)) each.open = true;
    for (const each of document.querySelectorAll(".cell_output table")) {
      const room = 0.95 * each.parentElement.clientWidth; // pixels: a sheet is a little narrower
      if (each.offsetWidth > room) each.style.zoom = room / each.offsetWidth;
    }
  };

  const start = () => {
    for (const each of document.querySelectorAll(TOLD)) each.removeAttribute("aria-label");
    for (const each of document.querySelectorAll(LISTED)) each.removeAttribute("role");
    for (const each of document.querySelectorAll(".theme-switch-button"))
      each.setAttribute("aria-label", "Color mode: Light, Dark, System Settings");
    if (location.search === "?print") print();
    new ResizeObserver(reach).observe(document.body);
  };

  document.readyState === "loading" ? document.addEventListener("DOMContentLoaded", start) : start();
})();
