// Times in the viewer's zone, and pages that refresh themselves. Without this script all
// pages, links and forms work all the same.
"use strict";
(() => {
  const REFRESH_EVERY = 5000;

  const local = (root) => {
    for (const time of root.querySelectorAll("time[datetime]")) {
      const at = new Date(time.dateTime);
      if (!time.title && !Number.isNaN(at.getTime())) {
        time.title = time.textContent;
        time.textContent = at.toLocaleString();
      }
    }
    for (const head of root.querySelectorAll("th.mark")) {
      if (head.querySelector("input")) continue;
      const all = document.createElement("input");
      all.type = "checkbox";
      all.ariaLabel = "mark all jobs of this page";
      all.addEventListener("change", () => {
        for (const one of head.closest("table").querySelectorAll("td input")) one.checked = all.checked;
      });
      head.append(all);
    }
  };

  // What somebody has marked, opened or selected, or is typing, would be lost.
  const isInUse = (live) =>
    live.querySelector("input:checked, details.touched") ||
    !document.getSelection().isCollapsed ||
    (live.contains(document.activeElement) && document.activeElement.matches("input, textarea, select"));

  // Old numbers are not to be taken for those of now.
  const tellAge = (isOld) => {
    const note = document.getElementById("old");
    if (!isOld || note) {
      if (!isOld) note?.remove();
      return;
    }
    const text = document.createElement("p");
    text.id = "old";
    text.className = "problem";
    text.setAttribute("role", "status");
    text.textContent = `This page could not be refreshed at ${new Date().toLocaleTimeString()}, and shows what was read before.`;
    document.getElementById("live")?.before(text);
  };

  document.addEventListener("DOMContentLoaded", () => {
    local(document);
    document.body.addEventListener("htmx:afterSettle", () => local(document));
    document.body.addEventListener("htmx:beforeSwap", (event) => {
      // An error is shown where somebody waits for an answer. What refreshes itself stays.
      const { xhr, target } = event.detail;
      if (xhr.status >= 400) event.detail.shouldSwap = target.id !== "live";
    });
    document.body.addEventListener("htmx:afterRequest", (event) => {
      if (event.detail.target?.id === "live") tellAge(!event.detail.successful);
    });
    document.body.addEventListener("click", (event) => {
      event.target.closest("summary")?.parentElement.classList.add("touched");
    });
    setInterval(() => {
      const live = document.getElementById("live");
      if (live && !document.hidden && !isInUse(live)) document.body.dispatchEvent(new Event("refresh"));
    }, REFRESH_EVERY);
  });
})();
