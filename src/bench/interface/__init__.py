"""The public interface: what `import bench` offers, and what the command line is built on."""
